//! Notes in SQLite.

use ark_conversation::Tenant;
use rusqlite::{Connection, OptionalExtension, params};

use crate::limits::NOTES_MAX;
use crate::note::{self, Note};
use crate::sqlite::writer::{Result, Said};

pub(super) fn get(db: &Connection, tenant: &Tenant, name: &str) -> Result<Option<Note>> {
    let sql = "select version, body from note where tenant = ?1 and name = ?2";
    let read = |row: &rusqlite::Row<'_>| Ok(Note { version: row.get::<_, i64>(0)?.cast_unsigned(), body: row.get(1)? });
    db.prepare_cached(sql)?.query_row(params![tenant.as_str(), name], read).optional()
}

pub(super) fn swap(db: &Connection, tenant: &Tenant, name: &str, known: u64, body: &[u8]) -> Result<Said<bool>> {
    if known == 0 {
        let all: usize = db.query_row("select count(*) from note", [], |row| row.get(0))?;
        if all >= NOTES_MAX {
            return Ok(Err(note::too_many()));
        }
        let sql = "insert into note (tenant, name, version, body) values (?1, ?2, 1, ?3) on conflict do nothing";
        return Ok(Ok(db.execute(sql, params![tenant.as_str(), name, body])? == 1));
    }
    let sql = "update note set version = version + 1, body = ?4 where tenant = ?1 and name = ?2 and version = ?3";
    Ok(Ok(db.execute(sql, params![tenant.as_str(), name, known.cast_signed(), body])? == 1))
}
