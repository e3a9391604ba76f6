"""The HTTP entrance: native API, health, blobs, foreign protocols, UI. It decides nothing."""
