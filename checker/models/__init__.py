"""Sequential models: what one correct machine would answer, one operation after the other."""
