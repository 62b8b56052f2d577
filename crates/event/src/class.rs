//! The classes of events: one file each, and what is the same for all of them.

mod change;
mod connect;
mod coverage;
mod exec;
mod exit;
mod finding;
mod lost;
mod open;
mod session;

pub use change::{Change, ChangeOp, ChangeRef};
pub use connect::{Connect, ConnectRef, NetFamily, Protocol};
pub use coverage::{Coverage, CoverageKind, CoveragePhase};
pub use exec::Exec;
pub use exit::Exit;
pub use finding::{Finding, Severity};
pub use lost::Lost;
pub use open::{Device, FileMode, Open, OpenRef};
pub use session::{Found, Phase, SessionInfo, UserSource};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use skep_proto::v1;

use crate::{Facts, Invalid, Secrets, UnixNanos, Wire};

/// A class that is a list of facts.
pub trait OfClass: Facts {
    const CLASS: Class;

    /// Its message, if the detail is of this class.
    fn of(detail: &v1::event::Detail) -> Option<&Self::Message>;
    fn detail(message: Self::Message) -> v1::event::Detail;
}

/// Is shown every class.
pub trait Classes {
    fn class<C: OfClass>(&mut self);
}

/// Class, struct and message, key in JSON, field of `v1::Event` and its number, lane. In the order of
/// those numbers.
macro_rules! classes {
    ($($class:ident($facts:ident), $key:literal, $wire:ident = $tag:literal, $lane:ident;)*) => {
        /// What kind of fact an event is; the value of the column `class`, and the name of its table.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
            strum::EnumCount, strum::EnumString, strum::IntoStaticStr, strum::VariantArray,
        )]
        #[strum(serialize_all = "snake_case", const_into_str)]
        pub enum Class {
            $($class,)*
        }

        /// What happened.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Detail {
            $($class($facts),)*
        }

        impl Class {
            /// Key in JSON of what only this class has.
            pub const fn key(self) -> &'static str {
                match self {
                    $(Self::$class => $key,)*
                }
            }

            /// Number of its field in `v1::Event`.
            pub const fn tag(self) -> u32 {
                match self {
                    $(Self::$class => $tag,)*
                }
            }

            /// The class whose field in `v1::Event` has this number.
            pub const fn from_tag(tag: u32) -> Option<Self> {
                match tag {
                    $($tag => Some(Self::$class),)*
                    _ => None,
                }
            }

            pub const fn lane(self) -> Lane {
                match self {
                    $(Self::$class => Lane::$lane,)*
                }
            }

            pub const fn of(detail: &v1::event::Detail) -> Self {
                match detail {
                    $(v1::event::Detail::$wire(_) => Self::$class,)*
                }
            }

            /// Whether the values of the class fit their columns.
            ///
            /// # Errors
            ///
            /// The first that does not.
            pub fn fits(detail: &v1::event::Detail) -> Result<(), crate::Unfit> {
                match detail {
                    $(v1::event::Detail::$wire(message) => $facts::fits(message),)*
                }
            }

            /// Shows every class, in order.
            pub fn each(visitor: &mut impl Classes) {
                $(visitor.class::<$facts>();)*
            }
        }

        impl Detail {
            pub const fn class(&self) -> Class {
                match self {
                    $(Self::$class(_) => Class::$class,)*
                }
            }

            /// Visits each text that can hold a secret.
            pub fn secrets(&mut self, visitor: &mut impl Secrets) {
                match self {
                    $(Self::$class(facts) => facts.secrets(visitor),)*
                }
            }
        }

        impl Serialize for Detail {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$class(facts) => facts.serialize(serializer),)*
                }
            }
        }

        impl Wire<v1::event::Detail> for Detail {
            fn to_wire(&self) -> v1::event::Detail {
                match self {
                    $(Self::$class(facts) => v1::event::Detail::$wire(facts.to_wire()),)*
                }
            }

            fn from_wire(wire: v1::event::Detail) -> Result<Self, Invalid> {
                Ok(match wire {
                    $(v1::event::Detail::$wire(message) => Self::$class($facts::from_wire(message)?),)*
                })
            }
        }

        $(impl OfClass for $facts {
            const CLASS: Class = Class::$class;

            fn of(detail: &v1::event::Detail) -> Option<&Self::Message> {
                match detail {
                    v1::event::Detail::$wire(message) => Some(message),
                    _ => None,
                }
            }

            fn detail(message: Self::Message) -> v1::event::Detail {
                v1::event::Detail::$wire(message)
            }
        })*

        #[cfg(feature = "proptest")]
        impl crate::arbitrary::Any for Detail {
            fn any() -> proptest::strategy::BoxedStrategy<Self> {
                use proptest::{prop_oneof, strategy::Strategy};
                prop_oneof![$(<$facts as Facts>::any().prop_map(Detail::$class)),*].boxed()
            }
        }

        /// Any detail that ingest takes.
        #[cfg(feature = "proptest")]
        pub(crate) fn any_message() -> proptest::strategy::BoxedStrategy<v1::event::Detail> {
            use proptest::{prop_oneof, strategy::Strategy};
            prop_oneof![$($facts::any_message().prop_map(v1::event::Detail::$wire)),*].boxed()
        }
    };
}

classes! {
    Exec(Exec), "exec", Exec = 10, Bulk;
    Exit(Exit), "exit", Exit = 11, Bulk;
    Open(Open), "file", Open = 12, Bulk;
    Connect(Connect), "net", Connect = 13, Bulk;
    Session(SessionInfo), "session_info", SessionInfo = 14, Findings;
    Lost(Lost), "lost", Lost = 15, Findings;
    Coverage(Coverage), "coverage", Coverage = 16, Findings;
    Finding(Finding), "finding", Finding = 17, Findings;
    Change(Change), "change", Change = 18, Bulk;
}

/// What an act was, borrowed from its record: the classes that repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActRef<'a> {
    Open(OpenRef<'a>),
    Connect(ConnectRef<'a>),
    Change(ChangeRef<'a>),
}

/// Which of the two spools, and streams, of a sensor. What must not be crowded out goes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Lane {
    /// finding, session, lost, coverage
    Findings,
    /// exec, exit, open, connect, change
    Bulk,
}

// === impl Class ===

impl Class {
    pub const COUNT: usize = <Self as strum::EnumCount>::COUNT;
    pub const ALL: [Self; Self::COUNT] = match <Self as strum::VariantArray>::VARIANTS.first_chunk()
    {
        Some(all) => *all,
        None => panic!("there are as many as are counted"),
    };

    pub const fn name(self) -> &'static str {
        self.into_str()
    }

    /// Place in [`Class::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl Serialize for Class {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Class {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let unknown = |_| D::Error::custom(format!("no class of events: {name}"));
        name.parse().map_err(unknown)
    }
}

// === impl Lane ===

impl Lane {
    pub const ALL: [Self; 2] = match <Self as strum::VariantArray>::VARIANTS.first_chunk() {
        Some(all) => *all,
        None => panic!("there are two"),
    };

    /// Its name in `status`, and of its directory.
    pub const fn name(self) -> &'static str {
        self.into_str()
    }

    /// Where an event goes; one without a detail with what must not be lost.
    pub fn of(event: &v1::Event) -> Self {
        let class = event.detail.as_ref().map(Class::of);
        class.map_or(Self::Findings, Class::lane)
    }
}

// === impl Detail ===

impl Detail {
    /// How many acts the event reports, and the time of the last where there are several.
    pub fn counted(&mut self) -> Option<(&mut u64, &mut Option<UnixNanos>)> {
        match self {
            Self::Open(Open { count, last, .. })
            | Self::Connect(Connect { count, last, .. })
            | Self::Change(Change { count, last, .. }) => Some((count, last)),
            Self::Exec(_)
            | Self::Exit(_)
            | Self::Session(_)
            | Self::Lost(_)
            | Self::Coverage(_)
            | Self::Finding(_) => None,
        }
    }

    /// Bytes that an act takes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Open(open) => open.heap_bytes(),
            Self::Connect(connect) => connect.heap_bytes(),
            Self::Change(change) => change.heap_bytes(),
            Self::Exec(_)
            | Self::Exit(_)
            | Self::Session(_)
            | Self::Lost(_)
            | Self::Coverage(_)
            | Self::Finding(_) => 0,
        }
    }
}

// === impl ActRef ===

impl ActRef<'_> {
    /// The detail of an event that reports this act alone.
    pub fn own(&self) -> Detail {
        match self {
            Self::Open(open) => Detail::Open(open.own()),
            Self::Connect(connect) => Detail::Connect(connect.own()),
            Self::Change(change) => Detail::Change(change.own()),
        }
    }

    /// Whether `known` reports the same act, count and last time left out.
    pub fn repeats(&self, known: &Detail) -> bool {
        match (self, known) {
            (Self::Open(open), Detail::Open(known)) => open.repeats(known),
            (Self::Connect(connect), Detail::Connect(known)) => connect.repeats(known),
            (Self::Change(change), Detail::Change(known)) => change.repeats(known),
            _ => false,
        }
    }
}
