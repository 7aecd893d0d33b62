"""The page of ``predict --html`` and of the demo: the verdicts, where the model looked, and how sure they are."""
