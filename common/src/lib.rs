//! Shared by the services.
