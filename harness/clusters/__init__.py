"""The clusters that a run can drive, behind one interface."""
