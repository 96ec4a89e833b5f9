//! What programs other than `./dev` use of the devtool.

pub use audit;
