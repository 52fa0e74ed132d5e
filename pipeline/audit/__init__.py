"""Proof, from records and pixels, that no test sample shows tissue that was trained on."""
