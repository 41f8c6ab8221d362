"""The client's promises: one key for all attempts of a write, and errors that say what certainly did not happen."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import httpx
import pytest

from raftnode.client import CasMismatchError, Client, Found, KvError

NODES = {"n1": "http://n1.test", "n2": "http://n2.test"}
Script = Callable[[httpx.Request], httpx.Response]


def refusal(status: int, code: str, *, definite: bool, **more: object) -> httpx.Response:
    return httpx.Response(status, json={"code": code, "message": "-", "definite": definite, **more})


class Cluster:
    """Answers scripted in order; every request is kept. Sessions are numbered s1, s2, ..."""

    def __init__(self, *script: Script | httpx.Response) -> None:
        self.requests: list[httpx.Request] = []
        self._script = iter(script)
        self._sessions = itertools.count(1)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/sessions":
            return httpx.Response(200, json={"session": f"s{next(self._sessions)}"})
        self.requests.append(request)
        step = next(self._script)
        return step if isinstance(step, httpx.Response) else step(request)

    @property
    def keys(self) -> list[str | None]:
        return [request.headers.get("idempotency-key") for request in self.requests]

    @property
    def hosts(self) -> list[str]:
        return [request.url.host for request in self.requests]


def client(cluster: Cluster, seconds: float = 10.0) -> Client:
    return Client(NODES, deadline_seconds=seconds, transport=httpx.MockTransport(cluster))


def broken(_request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("gone")


def unreachable(_request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


def test_a_write_whose_answer_was_lost_is_repeated_under_the_same_key() -> None:
    """Thesis 6.3: the serial number makes a retry harmless."""
    cluster = Cluster(broken, refusal(504, "timeout", definite=False), httpx.Response(200, json={"index": 9}))
    with client(cluster) as kv:
        assert kv.put("k", 1) == 9
    assert cluster.keys == ["s1:1", "s1:1", "s1:1"]


def test_every_operation_has_a_sequence_of_its_own() -> None:
    ok = httpx.Response(200, json={"index": 9, "length": 2, "existed": True})
    cluster = Cluster(ok, ok, ok, ok)
    with client(cluster) as kv:
        kv.put("k", 1)
        assert kv.delete("k") is True
        assert kv.cas("k", None, 1) == 9
        assert kv.append("l", 1) == 2
    assert cluster.keys == ["s1:1", "s1:2", "s1:3", "s1:4"]


def test_a_redirect_is_followed_by_the_nodes_id_and_remembered() -> None:
    elsewhere = {"location": "http://somewhere.else/kv/k"}
    redirect = httpx.Response(
        307, json={"code": "not-leader", "message": "-", "definite": True, "leader": "n2"}, headers=elsewhere
    )
    ok = httpx.Response(200, json={"index": 1})
    cluster = Cluster(redirect, ok, ok)
    with client(cluster) as kv:
        kv.put("k", 1)
        kv.put("k", 2)
    assert cluster.hosts == ["n1.test", "n2.test", "n2.test"]


def test_keys_are_percent_encoded() -> None:
    cluster = Cluster(httpx.Response(200, json={"key": "a/b ü", "value": 1, "index": 1}))
    with client(cluster) as kv:
        assert kv.get("a/b ü") == Found(1, 1)
    assert cluster.requests[0].url.raw_path == b"/kv/a%2Fb%20%C3%BC"


def test_an_absent_key_is_none_and_a_null_is_not() -> None:
    null = httpx.Response(200, json={"key": "k", "value": None, "index": 4})
    with client(Cluster(refusal(404, "key-not-found", definite=True, index=3), null)) as kv:
        assert kv.get("k") is None
        assert kv.get("k", stale=True) == Found(None, 4)


def test_a_mismatch_says_what_was_there() -> None:
    with client(Cluster(refusal(409, "cas-mismatch", definite=True, actual=[1]))) as kv:
        with pytest.raises(CasMismatchError) as caught:
            kv.cas("k", 1, 2)
        assert caught.value.actual == [1]
        assert caught.value.definite


def test_a_mismatch_after_a_lost_answer_is_the_first_answer_and_definite() -> None:
    """The session table keeps the answer of the one time that the operation was applied."""
    with client(Cluster(broken, refusal(409, "wrong-type", definite=True))) as kv, pytest.raises(KvError) as caught:
        kv.append("k", 1)
    assert (caught.value.code, caught.value.definite) == ("wrong-type", True)


def test_one_lost_answer_makes_a_later_refusal_indefinite() -> None:
    cluster = Cluster(broken, *(refusal(503, "no-leader", definite=True) for _ in range(100)))
    with client(cluster, seconds=0.3) as kv, pytest.raises(KvError) as caught:
        kv.put("k", 1)
    assert (caught.value.code, caught.value.definite) == ("no-leader", False)


@pytest.mark.parametrize("step", [unreachable, refusal(503, "busy", definite=True)])
def test_refusals_alone_stay_definite(step: Script | httpx.Response) -> None:
    with client(Cluster(*itertools.repeat(step, 100)), seconds=0.2) as kv, pytest.raises(KvError) as caught:
        kv.put("k", 1)
    assert caught.value.definite


def test_a_read_is_definite_whatever_happens_to_it() -> None:
    with client(Cluster(*itertools.repeat(broken, 100)), seconds=0.2) as kv, pytest.raises(KvError) as caught:
        kv.get("k")
    assert caught.value.definite


def test_an_expired_session_is_replaced_only_if_nothing_was_sent_under_it() -> None:
    lost = refusal(409, "unknown-session", definite=False)
    cluster = Cluster(lost, httpx.Response(200, json={"index": 1}))
    with client(cluster) as kv:
        kv.put("k", 1)
    assert cluster.keys == ["s1:1", "s2:1"]
    with client(Cluster(broken, lost)) as kv, pytest.raises(KvError) as caught:
        kv.put("k", 1)
    assert (caught.value.code, caught.value.definite) == ("unknown-session", False)


def test_what_no_repeat_can_mend_is_not_repeated() -> None:
    cluster = Cluster(refusal(400, "bad-key", definite=True))
    with client(cluster) as kv, pytest.raises(KvError, match="it did not happen"):
        kv.put("", 1)
    assert len(cluster.requests) == 1


def test_status_of_a_node_that_does_not_answer() -> None:
    with client(Cluster(httpx.Response(200, json={"id": "n2"}), unreachable)) as kv:
        assert kv.status("n2") == {"id": "n2"}
        with pytest.raises(KvError, match="unreachable"):
            kv.status("n1")
