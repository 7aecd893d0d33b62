"""Images inside tables: Parquet files, and the Arrow files of ``datasets``."""
