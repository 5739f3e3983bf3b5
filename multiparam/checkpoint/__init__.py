"""Files of multiparam, and how any file is opened; it knows no model."""
