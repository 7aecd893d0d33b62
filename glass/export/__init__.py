"""A trained model as files, and the rules that determine its pixels."""
