//! Floor 2: the local side: open any artifact, list it, pack it.
