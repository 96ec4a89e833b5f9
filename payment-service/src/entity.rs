//! sea-orm models, one table each, for the reads of the API.

pub(crate) mod payment;
