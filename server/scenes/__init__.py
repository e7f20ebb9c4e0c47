"""What scenes are: documents and names of several files, read into one description."""
