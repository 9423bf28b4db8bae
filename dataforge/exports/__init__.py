"""The shapes that a build's records are exported in, a file each; the file's name is what `--to` takes."""
