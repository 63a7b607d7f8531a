//! Notes in PostgreSQL.

use ark_conversation::Tenant;

use super::fail::Fault;
use super::lane::Said;
use super::link::{Link, Result};
use super::rows;
use crate::limits::NOTES_MAX;
use crate::note::{self, Note};

pub(super) async fn get(link: &Link, tenant: &Tenant, name: &str) -> Result<Option<Note>> {
    let sql = "select version, body from note where tenant = $1 and name = $2";
    let Some(row) = link.one(sql, &[&tenant.as_str(), &name]).await? else { return Ok(None) };
    Ok(Some(Note { version: rows::number(&row, 0)?, body: row.try_get(1)? }))
}

pub(super) async fn swap(link: &Link, tenant: &Tenant, name: &str, known: u64, body: &[u8]) -> Result<Said<bool>> {
    if known == 0 {
        let row = link.one("select count(*) from note", &[]).await?;
        let row = row.ok_or_else(|| Fault::unreadable("no count of notes"))?;
        if rows::number(&row, 0)? >= NOTES_MAX as u64 {
            return Ok(Err(note::too_many()));
        }
        let sql = "insert into note (tenant, name, version, body) values ($1, $2, 1, $3) on conflict do nothing";
        return Ok(Ok(link.execute(sql, &[&tenant.as_str(), &name, &body]).await? == 1));
    }
    let sql = "update note set version = version + 1, body = $4 where tenant = $1 and name = $2 and version = $3";
    let known = known.cast_signed();
    Ok(Ok(link.execute(sql, &[&tenant.as_str(), &name, &known, &body]).await? == 1))
}
