"""Programs that build, validate and export datasets; never dataset loaders."""
