//! SQL functions for times, as analysts write them: `time > ago('1h')`, `bin(time, '5m')`, `today()`,
//! `yesterday()`.
//!
//! Invariants:
//! - all of them are UTC;
//! - what does not depend on a row is a literal once the plan is optimised, so that a filter with it
//!   skips files, and every use in one statement speaks of the same now;
//! - a span that is not understood is an error of planning that names the text and what is understood.

use std::{sync::Arc, time::Duration};

use arrow::{
    array::{ArrayRef, AsArray, PrimitiveArray},
    datatypes::{
        ArrowTimestampType, DataType, Field, FieldRef,
        TimeUnit::{Microsecond, Millisecond, Nanosecond, Second},
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
        TimestampSecondType,
    },
};
use datafusion::{
    common::{exec_err, plan_err},
    error::Result,
    logical_expr::{
        ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
        Signature, Volatility,
        simplify::{ExprSimplifyResult, SimplifyContext},
    },
    prelude::{SessionContext, lit},
    scalar::ScalarValue,
};

use skep_human::span;

const DAY: Duration = Duration::from_secs(86_400);
/// 1970-01-05T00:00:00Z, a Monday: bins of a week begin on Mondays, and those that divide a day at
/// midnight.
const MONDAY: i64 = 4 * 86_400;

/// Makes the functions known to a planner.
pub(super) fn register(context: &SessionContext) {
    let today = Midnight::new("today", Duration::ZERO);
    let yesterday = Midnight::new("yesterday", DAY);
    for function in [
        ScalarUDF::from(Ago::new()),
        ScalarUDF::from(Bin::new()),
        ScalarUDF::from(today),
        ScalarUDF::from(yesterday),
    ] {
        context.register_udf(function);
    }
}

/// `ago('15m')`: the time that long before the statement was run.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Ago {
    signature: Signature,
}

/// `bin(time, '5m')`: the beginning of the five minutes that `time` is in.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bin {
    signature: Signature,
}

/// `today()`, `yesterday()`: the beginning of the day.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Midnight {
    name: &'static str,
    /// Before the midnight that began this day.
    before: Duration,
    signature: Signature,
}

// === impl Ago ===

impl Ago {
    fn new() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Stable),
        }
    }
}

impl ScalarUDFImpl for Ago {
    fn name(&self) -> &str {
        "ago"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(instant())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        span_of("ago('15m')", arguments.scalar_arguments[0])?;
        Ok(field(self.name(), instant()))
    }

    fn simplify(
        &self,
        arguments: Vec<Expr>,
        context: &SimplifyContext,
    ) -> Result<ExprSimplifyResult> {
        let span = span_of("ago('15m')", arguments[0].as_literal())?;
        Ok(literal(context, arguments, |now| now - micros(span)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        not_planned(self.name())
    }
}

// === impl Bin ===

impl Bin {
    fn new() -> Self {
        Self {
            signature: Signature::any(2, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Bin {
    fn name(&self) -> &str {
        "bin"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        width_of(arguments.scalar_arguments[1])?;
        match arguments.arg_fields[0].data_type() {
            time @ DataType::Timestamp(..) => Ok(field(self.name(), time.clone())),
            other => plan_err!(
                "bin wants a time and a span, such as bin(time, '5m'), and its first argument is \
                 {other}"
            ),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [time, width] = &arguments.args[..] else {
            return not_planned(self.name());
        };
        let width = match width {
            ColumnarValue::Scalar(width) => width_of(Some(width))?,
            ColumnarValue::Array(_) => width_of(None)?,
        };
        Ok(match time {
            ColumnarValue::Array(times) => ColumnarValue::Array(binned(times, width)?),
            ColumnarValue::Scalar(time) => {
                let one = binned(&time.to_array()?, width)?;
                ColumnarValue::Scalar(ScalarValue::try_from_array(&one, 0)?)
            }
        })
    }
}

fn binned(times: &ArrayRef, width: Duration) -> Result<ArrayRef> {
    let DataType::Timestamp(unit, zone) = times.data_type() else {
        return exec_err!("bin wants times, not {}", times.data_type());
    };
    let zone = zone.clone();
    Ok(match unit {
        Second => of_unit::<TimestampSecondType>(times, width, 1, zone),
        Millisecond => of_unit::<TimestampMillisecondType>(times, width, 1_000, zone),
        Microsecond => of_unit::<TimestampMicrosecondType>(times, width, 1_000_000, zone),
        Nanosecond => of_unit::<TimestampNanosecondType>(times, width, 1_000_000_000, zone),
    })
}

/// `per_second`: units in a second.
fn of_unit<T: ArrowTimestampType>(
    times: &ArrayRef,
    width: Duration,
    per_second: i64,
    zone: Option<Arc<str>>,
) -> ArrayRef {
    // A bin finer than the unit is the unit. `span` bounds a width, so that both products fit.
    let width = (nanos(width) / (1_000_000_000 / per_second)).max(1);
    let origin = MONDAY * per_second;
    let begin = |time: i64| time.wrapping_sub(time.wrapping_sub(origin).rem_euclid(width));
    let binned: PrimitiveArray<T> = times.as_primitive::<T>().unary(begin);
    Arc::new(binned.with_timezone_opt(zone))
}

// === impl Midnight ===

impl Midnight {
    fn new(name: &'static str, before: Duration) -> Self {
        Self {
            name,
            before,
            signature: Signature::nullary(Volatility::Stable),
        }
    }
}

impl ScalarUDFImpl for Midnight {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(instant())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(field(self.name, instant()))
    }

    fn simplify(
        &self,
        arguments: Vec<Expr>,
        context: &SimplifyContext,
    ) -> Result<ExprSimplifyResult> {
        let midnight = |now: i64| now - now.rem_euclid(micros(DAY)) - micros(self.before);
        Ok(literal(context, arguments, midnight))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        not_planned(self.name)
    }
}

// === what they share ===

/// The type of `time` in the tables, so that a comparison needs no cast.
fn instant() -> DataType {
    DataType::Timestamp(Microsecond, Some("UTC".into()))
}

fn field(name: &str, data_type: DataType) -> FieldRef {
    Arc::new(Field::new(name, data_type, true))
}

/// `of_now`: from and to Unix microseconds.
fn literal(
    context: &SimplifyContext,
    arguments: Vec<Expr>,
    of_now: impl Fn(i64) -> i64,
) -> ExprSimplifyResult {
    match context.query_execution_start_time() {
        Some(now) => {
            let time = of_now(now.timestamp_micros());
            let time = ScalarValue::TimestampMicrosecond(Some(time), Some("UTC".into()));
            ExprSimplifyResult::Simplified(lit(time))
        }
        None => ExprSimplifyResult::Original(arguments),
    }
}

/// `span::parse` bounds a span to far less than 2^63 microseconds.
fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// Likewise, of nanoseconds.
fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

fn span_of(example: &str, argument: Option<&ScalarValue>) -> Result<Duration> {
    match argument.and_then(ScalarValue::try_as_str).flatten() {
        Some(text) => match span::parse(text) {
            Some(span) => Ok(span),
            None => plan_err!("'{text}' is not a span of time: write {}", span::FORMS),
        },
        None => plan_err!("a span of time is written as text in quotes, such as {example}"),
    }
}

fn width_of(argument: Option<&ScalarValue>) -> Result<Duration> {
    match span_of("bin(time, '5m')", argument)? {
        Duration::ZERO => plan_err!("a bin of no width holds nothing: write 1s or more"),
        width => Ok(width),
    }
}

fn not_planned(name: &str) -> Result<ColumnarValue> {
    exec_err!("{name} has no value outside a query")
}
