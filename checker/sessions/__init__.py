"""What sessions of clients still got of a store that is not linearizable: the parts that `promises.py` asks."""
