"""Where the images of a build come from: folders, lists, archives and tables, and what their words mean."""
