//! From a source's batches to one tenant's rows.
