"""What clients ask, when, and the model that their answers must fit."""
