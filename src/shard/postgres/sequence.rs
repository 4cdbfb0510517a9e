//! Sequences of restored tables: moved past the restored ids, never back.

use sqlx::postgres::PgConnection;

use crate::database::postgres::error::failure;
use crate::error::Result;
use crate::limits::SEQUENCE_STEPS_MAX;
use crate::model::Sequence;

/// Moves each sequence forward if it stands before its restored maximum. One question tells which do: sequences
/// that live on are nearly always ahead of what comes back.
pub async fn advance(connection: &mut PgConnection, restored: &[(Sequence, i64)]) -> Result<()> {
    let behind = |number: usize| {
        let (sequence, restored_max) = &restored[number];
        let (ahead, reached) = if sequence.increment < 0 { ("<", "<=") } else { (">", ">=") };
        // Past the value, or at it and drawn.
        format!(
            "SELECT {number} FROM {} WHERE NOT (last_value {ahead} {restored_max} OR
             last_value {reached} {restored_max} AND is_called)",
            sequence.name.quoted()
        )
    };
    if restored.is_empty() {
        return Ok(());
    }
    let questions: Vec<String> = (0..restored.len()).map(behind).collect();
    // Safe: quoted identifiers from the catalog and numbers.
    let sql = sqlx::AssertSqlSafe(questions.join(" UNION ALL "));
    let numbers: Vec<i32> = sqlx::query_scalar(sql)
        .fetch_all(&mut *connection)
        .await
        .map_err(|error| failure("unable to see where sequences stand", error))?;
    for (number, (sequence, restored_max)) in restored.iter().enumerate() {
        if numbers.iter().any(|behind| usize::try_from(*behind) == Ok(number)) {
            let unable =
                |error| failure(format!("unable to move sequence '{}' forward", sequence.name), error);
            advance_one(connection, sequence, *restored_max).await.map_err(unable)?;
        }
    }
    Ok(())
}

/// Moves a sequence to `restored_max` unless it is there already. Short ways are drawn, step by step, which
/// can never take back a number that a neighbour draws at the same moment; see [`SEQUENCE_STEPS_MAX`] for the
/// long ones.
async fn advance_one(
    connection: &mut PgConnection,
    sequence: &Sequence,
    restored_max: i64,
) -> Result<(), sqlx::Error> {
    let quoted = sequence.name.quoted();
    // Safe: quoted identifiers from the catalog.
    let state = sqlx::AssertSqlSafe(format!("select last_value, is_called from {quoted}"));
    let (last, is_called): (i64, bool) = sqlx::query_as(state).fetch_one(&mut *connection).await?;
    let increment = i128::from(sequence.increment);
    let at = i128::from(last) - if is_called { 0 } else { increment };
    let way = (i128::from(restored_max) - at) * increment.signum();
    if way <= 0 {
        return Ok(());
    }
    let size = increment.abs().max(1);
    let steps = (way + size - 1) / size;
    let (sql, value) = if steps <= i128::from(SEQUENCE_STEPS_MAX) {
        ("select max(nextval($1::text::regclass)) from generate_series(1, $2)", steps as i64)
    } else {
        ("select setval($1::text::regclass, $2)", restored_max)
    };
    sqlx::query(sql).bind(quoted).bind(value).execute(connection).await.map(drop)
}
