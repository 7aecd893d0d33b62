"""The page of ``predict --html`` and of the demo: is this image generated, where, and how sure is that?"""
