//! Artifacts of every kind become one manifest; hostile ones are refused.
