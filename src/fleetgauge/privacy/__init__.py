"""Ids of persons: their keyed digests, and how one id is found and blotted out wherever it may be written."""
