"""Why a history is not linearizable: the impossible operation, a small core, and the sentence."""
