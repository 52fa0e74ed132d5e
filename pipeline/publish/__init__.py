"""Publishing a dataset, with its proof, all of it or none: to Kaggle, or to a folder."""
