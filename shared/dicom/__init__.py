"""DICOM helpers: UIDs, Key Object Selection documents, multipart, DICOM JSON."""
