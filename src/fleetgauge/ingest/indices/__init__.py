"""The daily indices that events go to: their template, their creation, their life."""
