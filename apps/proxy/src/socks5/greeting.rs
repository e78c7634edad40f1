//! The first message: which authentication methods the client offers.

use super::{DecodeError, Incremental, Parsed, VERSION};

const NO_AUTHENTICATION: u8 = 0;
const PASSWORD: u8 = 2;

/// The methods that a client offers, as far as they matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The client can go on without credentials.
    pub none: bool,
    /// The client can send a user name and a password.
    pub password: bool,
}

/// The method that the proxy chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// No authentication.
    None,
    /// User name and password, which choose the isolation token.
    Password,
}

impl Greeting {
    /// Reads version, count, methods.
    ///
    /// # Errors
    /// [`DecodeError::Version`], or [`DecodeError::NoMethods`] for an empty list.
    pub fn decode(input: &[u8]) -> Incremental<Greeting> {
        let Some((&version, rest)) = input.split_first() else {
            return Ok(None);
        };
        if version != VERSION {
            return Err(DecodeError::Version);
        }
        let Some((&count, rest)) = rest.split_first() else {
            return Ok(None);
        };
        if count == 0 {
            return Err(DecodeError::NoMethods);
        }
        let Some(methods) = rest.get(..usize::from(count)) else {
            return Ok(None);
        };
        let value = Greeting { none: methods.contains(&NO_AUTHENTICATION), password: methods.contains(&PASSWORD) };
        Ok(Some(Parsed { value, used: 2 + methods.len() }))
    }

    /// The method to use, or `None` when none fits. A client that offers a password has one to send, and it means
    /// isolation, so it comes first.
    #[must_use]
    pub fn choose(self) -> Option<Method> {
        match self {
            Greeting { password: true, .. } => Some(Method::Password),
            Greeting { none: true, .. } => Some(Method::None),
            _ => None,
        }
    }
}

impl Method {
    /// The answer to the greeting: the method, or "none acceptable".
    #[must_use]
    pub fn encode(choice: Option<Method>) -> [u8; 2] {
        let method = match choice {
            Some(Method::None) => NO_AUTHENTICATION,
            Some(Method::Password) => PASSWORD,
            None => 0xff,
        };
        [VERSION, method]
    }
}
