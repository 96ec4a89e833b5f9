//! What programs other than `./dev` use of the devtool: the [`audit`].

pub mod audit;
