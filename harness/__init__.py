"""Runs a plan against a cluster: clients, nemesis, verdict, store and report."""
