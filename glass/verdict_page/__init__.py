"""The page of ``predict --html`` and of the demo. It shows verdicts, how sure they are, and where the model looked."""
