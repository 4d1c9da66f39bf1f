//! The text form: the graph's face. It prints the same bytes for the same graph and parses back to an equal one.
//!
//! ```text
//! graph @lenet steps=32 {
//!   %image = input : current[1x28x28]
//!   %conv1 = conv %image, weight=@conv1.weight, bias=@conv1.bias, kernel=5x5, pad=2x2 : current[6x28x28]
//!   %relu1 = if %conv1, threshold=1, init=0.5, reset=subtract : spikes[6x28x28]
//!   ...
//!   output %logits
//! }
//! @conv1.weight = f32[6x1x5x5] summary(min=-0.3127, max=0.4205, hash=9a3f01cc00112233)
//! @conv1.bias = f32[6] [0.1, -0.2, 0, 0, 1, 2]
//! ```
//!
//! One line is one node: its name, its operation, its operands, its attributes (see [`crate::attr`]) and its type.
//! Nodes come after their operands. Names are made of `A-Za-z0-9_./:-` or are quoted: `%"a name"`, with the escapes
//! `\"`, `\\`, `\n`, `\t`, `\r` and `\u{1f}`. A comment runs from `//` to the end of the line.
//!
//! Rank-0 parameters are where they are used: `threshold=0.5`, and `threshold=i32(64)` for integers. All others
//! have a line of their own after the graph; a parser also takes them in place (`weight=f32[2x2] [1, 2, 3, 4]`), and in
//! any order. Their values are
//!
//! | form | meaning |
//! |---|---|
//! | `[0.1, -0.2]` | every element, row-major; what up to eight elements are printed as |
//! | `summary(min=.., max=.., hash=..)` | range and [`Tensor::content_hash`](crate::Tensor::content_hash); the default for more elements |
//! | `base64("..")` | every element as little-endian bytes; what [`Parameters::Full`] prints |
//! | `splat(0.5)` | the same number everywhere |
//! | `seeded(7)`, `seeded(7, 0.1)` | pseudo-random numbers in ±1 or ±0.1, see [`literal`] |

mod lexer;
pub mod literal;
mod parser;
mod printer;

pub use lexer::ParseError;
pub use parser::{parse, parse_with};
pub use printer::{Parameters, parameters, print};
