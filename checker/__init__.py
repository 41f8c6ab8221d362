"""Histories, models and verdicts: decides whether a recorded history is linearizable; usable alone."""
