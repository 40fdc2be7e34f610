//! Every order times every fault: the report is honest and `current` is whole.
