"""The page for ``predict --html`` and the demo. It shows verdicts, how sure they are, and where the model looked."""
