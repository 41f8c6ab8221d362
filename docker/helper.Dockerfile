# The helper that cuts networks for a harness that is not root: the image of a node, and the library for packet filters.
# Its program is bound in from the harness that starts it. A base made of Debian packages has the library already.

ARG BASE
FROM ${BASE}
RUN ls /usr/lib/*/libnftables.so.1 || { apt-get update -q && apt-get install -qy --no-install-recommends libnftables1 iproute2; }
ENTRYPOINT ["python3", "-m", "harness.clusters.helper"]
