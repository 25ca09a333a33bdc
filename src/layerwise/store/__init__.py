"""The run folder and the files in it: written whole or not at all, verified before they are used, never pickled."""
