//! .env values read back as the same bytes by every reader.
