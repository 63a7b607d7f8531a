//! API tokens in PostgreSQL.

use jiff::Timestamp;
use tokio_postgres::Row;

use super::fail::Fault;
use super::lane::Said;
use super::link::{Link, Result};
use super::rows;
use crate::limits::{TOKEN_KEPT, TOKENS_MAX};
use crate::token::{self, ApiToken};

/// Within a transaction: two gateways that put at once wait for each other.
pub(super) async fn put(link: &Link, token: &ApiToken) -> Result<Said<()>> {
    link.batch("lock table api_token in share row exclusive mode").await?;
    let now = token.made_at.as_microsecond();
    let long_ago = now - TOKEN_KEPT.as_micros() as i64;
    link.execute("delete from api_token where coalesce(revoked_us, expires_us) < $1", &[&long_ago]).await?;
    let sql = "select count(*), coalesce(bool_or(name = $1 and revoked_us is null and coalesce(expires_us > $2, true)), false)
        from api_token";
    let row = link.one(sql, &[&token.name, &now]).await?.ok_or_else(|| Fault::unreadable("no count of tokens"))?;
    let named: bool = row.try_get(1)?;
    if named {
        return Ok(Err(token::taken(&token.name)));
    }
    if rows::number(&row, 0)? >= TOKENS_MAX as u64 {
        return Ok(Err(token::too_many(TOKENS_MAX)));
    }
    let sql = "insert into api_token (id, name, scopes, sha256, made_us, expires_us) values ($1, $2, $3, $4, $5, $6)";
    let (scopes, expires) = (token::joined(&token.scopes), token.expires_at.map(Timestamp::as_microsecond));
    link.execute(sql, &[&token.id, &token.name, &scopes, &token.sha256, &now, &expires]).await?;
    Ok(Ok(()))
}

pub(super) async fn all(link: &Link) -> Result<Vec<ApiToken>> {
    let sql = "select id, name, scopes, sha256, made_us, expires_us, revoked_us, used_us from api_token
        order by made_us, id collate \"C\"";
    link.query(sql, &[]).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<ApiToken> {
    let time = |column: usize| -> Result<Option<Timestamp>> {
        let us: Option<i64> = row.try_get(column)?;
        us.map(|us| Timestamp::from_microsecond(us).map_err(Fault::unreadable)).transpose()
    };
    let scopes: &str = row.try_get(2)?;
    Ok(ApiToken {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        scopes: token::split(scopes),
        sha256: row.try_get(3)?,
        made_at: rows::time(row, 4)?,
        expires_at: time(5)?,
        revoked_at: time(6)?,
        used_at: time(7)?,
    })
}

pub(super) async fn revoke(link: &Link, which: &str, at: Timestamp) -> Result<Said<Option<ApiToken>>> {
    let sql = "update api_token set revoked_us = $2 where revoked_us is null and (id = $1 or name = $1)
        returning id, name, scopes, sha256, made_us, expires_us, revoked_us, used_us";
    let row = link.one(sql, &[&which, &at.as_microsecond()]).await?;
    Ok(Ok(row.as_ref().map(read).transpose()?))
}

pub(super) async fn used(link: &Link, id: &str, at: Timestamp) -> Result<Said<()>> {
    let sql = "update api_token set used_us = greatest(coalesce(used_us, 0), $2) where id = $1";
    link.execute(sql, &[&id, &at.as_microsecond()]).await?;
    Ok(Ok(()))
}
