"""What `augpipe card` adds to a dataset, and can make again at any time: a folder, and the files in it."""

CARD_FOLDER, CARD_FILE, METADATA_FILE, AUDIT_FILE = "card", "README.md", "dataset-metadata.json", "audit.json"
INDEX_FILE, COVER_FILE = "index.csv", "dataset-cover-image.png"
CARD_FILES = (CARD_FILE, "croissant.json", METADATA_FILE, INDEX_FILE, AUDIT_FILE, "preview.png", COVER_FILE)
