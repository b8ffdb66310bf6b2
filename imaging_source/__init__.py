"""The Imaging Document Source: instances, the manifests that point at them, their retrieval."""
