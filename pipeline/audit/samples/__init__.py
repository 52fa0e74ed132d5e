"""The samples that are audited: of a dataset, or of folders of pictures in the layouts that people use."""
