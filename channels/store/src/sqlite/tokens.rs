//! API tokens in SQLite.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::rows;
use crate::limits::{TOKEN_KEPT, TOKENS_MAX};
use crate::sqlite::writer::{Result, Said};
use crate::token::{self, ApiToken};

pub(super) fn put(db: &Connection, token: &ApiToken) -> Result<Said<()>> {
    let now = token.made_at.as_microsecond();
    let long_ago = now - TOKEN_KEPT.as_micros() as i64;
    db.execute("delete from api_token where coalesce(revoked_us, expires_us) < ?1", params![long_ago])?;
    let (all, named): (usize, bool) = db.query_row(
        "select count(*), coalesce(max(name = ?1 and revoked_us is null and coalesce(expires_us > ?2, 1)), 0) from api_token",
        params![token.name, now],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    if named {
        return Ok(Err(token::taken(&token.name)));
    }
    if all >= TOKENS_MAX {
        return Ok(Err(token::too_many(TOKENS_MAX)));
    }
    db.execute(
        "insert into api_token (id, name, scopes, sha256, made_us, expires_us) values (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            token.id,
            token.name,
            token::joined(&token.scopes),
            token.sha256,
            now,
            token.expires_at.map(Timestamp::as_microsecond)
        ],
    )?;
    Ok(Ok(()))
}

pub(super) fn all(db: &Connection) -> Result<Vec<ApiToken>> {
    let sql =
        "select id, name, scopes, sha256, made_us, expires_us, revoked_us, used_us from api_token order by made_us, id";
    db.prepare_cached(sql)?.query_map([], read)?.collect()
}

fn read(row: &Row<'_>) -> Result<ApiToken> {
    let time = |column: usize| match row.get::<_, Option<i64>>(column)? {
        Some(_) => rows::time(row, column).map(Some),
        None => Ok(None),
    };
    Ok(ApiToken {
        id: row.get(0)?,
        name: row.get(1)?,
        scopes: token::split(&row.get::<_, String>(2)?),
        sha256: row.get(3)?,
        made_at: rows::time(row, 4)?,
        expires_at: time(5)?,
        revoked_at: time(6)?,
        used_at: time(7)?,
    })
}

pub(super) fn revoke(db: &Connection, which: &str, at: Timestamp) -> Result<Said<Option<ApiToken>>> {
    let sql = "update api_token set revoked_us = ?2 where revoked_us is null and (id = ?1 or name = ?1)
        returning id, name, scopes, sha256, made_us, expires_us, revoked_us, used_us";
    Ok(Ok(db.query_row(sql, params![which, at.as_microsecond()], read).optional()?))
}

pub(super) fn used(db: &Connection, id: &str, at: Timestamp) -> Result<Said<()>> {
    let sql = "update api_token set used_us = max(coalesce(used_us, 0), ?2) where id = ?1";
    db.execute(sql, params![id, at.as_microsecond()])?;
    Ok(Ok(()))
}
