//! Accounts and their sessions in SQLite.

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::rows;
use crate::account::{self, Account, AccountChange, Credentials, NewAccount, PasswordHash, Session};
use crate::limits::{ACCOUNTS_MAX, SESSIONS_PER_ACCOUNT_MAX};
use crate::sqlite::writer::{Result, Said};

const COLUMNS: &str = "a.name, a.profile, a.disabled, a.made_us, a.signed_in_us";

pub(super) fn put(db: &Connection, new: &NewAccount) -> Result<Said<()>> {
    let NewAccount { account, credentials, first } = new;
    let (all, named): (usize, bool) =
        db.query_row("select count(*), coalesce(max(name = ?1), 0) from account", params![account.name], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    if *first && all > 0 {
        return Ok(Err(account::not_first()));
    }
    if named {
        return Ok(Err(account::taken(&account.name)));
    }
    if all >= ACCOUNTS_MAX {
        return Ok(Err(account::too_many(ACCOUNTS_MAX)));
    }
    if bound_elsewhere(db, &account.name, credentials)? {
        return Ok(Err(account::subject_taken()));
    }
    db.execute(
        "insert into account (name, profile, password, subject, disabled, made_us, signed_in_us)
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            account.name,
            account::profile(account),
            credentials.password.as_ref().map(PasswordHash::as_str),
            credentials.subject,
            account.disabled,
            account.made_at.as_microsecond(),
            account.signed_in_at.map(Timestamp::as_microsecond),
        ],
    )?;
    Ok(Ok(()))
}

fn bound_elsewhere(db: &Connection, name: &str, credentials: &Credentials) -> Result<bool> {
    let Some(subject) = &credentials.subject else { return Ok(false) };
    let sql = "select exists (select 1 from account where subject = ?1 and name <> ?2)";
    db.query_row(sql, params![subject, name], |row| row.get(0))
}

pub(super) fn all(db: &Connection) -> Result<Vec<Account>> {
    db.prepare_cached(&format!("select {COLUMNS} from account a order by a.name"))?.query_map([], read)?.collect()
}

pub(super) fn one(db: &Connection, name: &str) -> Result<Option<(Account, Credentials)>> {
    let sql = format!("select {COLUMNS}, a.password, a.subject from account a where a.name = ?1");
    let read = |row: &Row<'_>| {
        let password = row.get::<_, Option<String>>(5)?.map(PasswordHash::new);
        Ok((read(row)?, Credentials { password, subject: row.get(6)? }))
    };
    db.query_row(&sql, params![name], read).optional()
}

pub(super) fn of_subject(db: &Connection, subject: &str) -> Result<Option<Account>> {
    let sql = format!("select {COLUMNS} from account a where a.subject = ?1");
    db.query_row(&sql, params![subject], read).optional()
}

fn read(row: &Row<'_>) -> Result<Account> {
    let signed_in = match row.get::<_, Option<i64>>(4)? {
        Some(_) => Some(rows::time(row, 4)?),
        None => None,
    };
    account::of_row(row.get(0)?, row.get_ref(1)?.as_str()?, row.get(2)?, rows::time(row, 3)?, signed_in)
        .map_err(|error| rows::unreadable(1, Type::Text, error))
}

pub(super) fn change(db: &Connection, name: &str, change: &AccountChange) -> Result<Said<Option<Account>>> {
    let Some((mut changed, mut credentials)) = one(db, name)? else { return Ok(Ok(None)) };
    change.apply(&mut changed, &mut credentials);
    if let Err(refused) = account::checked(&changed, &credentials) {
        return Ok(Err(refused));
    }
    if bound_elsewhere(db, name, &credentials)? {
        return Ok(Err(account::subject_taken()));
    }
    db.execute(
        "update account set profile = ?2, password = ?3, subject = ?4, disabled = ?5, signed_in_us = ?6 where name = ?1",
        params![
            name,
            account::profile(&changed),
            credentials.password.as_ref().map(PasswordHash::as_str),
            credentials.subject,
            changed.disabled,
            changed.signed_in_at.map(Timestamp::as_microsecond),
        ],
    )?;
    if let Some(except) = change.ends_sessions() {
        let sql = "delete from account_session where account = ?1 and sha256 is not ?2";
        db.execute(sql, params![name, except])?;
    }
    Ok(Ok(Some(changed)))
}

pub(super) fn remove(db: &Connection, name: &str) -> Result<Said<bool>> {
    db.execute("delete from account_session where account = ?1", params![name])?;
    Ok(Ok(db.execute("delete from account where name = ?1", params![name])? > 0))
}

pub(super) fn put_session(db: &Connection, session: &Session) -> Result<Said<()>> {
    let sql = "select disabled from account where name = ?1";
    let disabled: Option<bool> = db.query_row(sql, params![session.account], |row| row.get(0)).optional()?;
    if disabled.is_none_or(|disabled| disabled) {
        return Ok(Err(account::nobody()));
    }
    let us = Timestamp::as_microsecond;
    db.execute("delete from account_session where ends_us <= ?1", params![us(session.made_at)])?;
    db.execute(
        "delete from account_session where account = ?1 and sha256 not in
            (select sha256 from account_session where account = ?1 order by used_us desc, sha256 limit ?2)",
        params![session.account, SESSIONS_PER_ACCOUNT_MAX - 1],
    )?;
    db.execute(
        "insert into account_session (sha256, account, made_us, used_us, ends_us) values (?1, ?2, ?3, ?4, ?5)",
        params![session.sha256, session.account, us(session.made_at), us(session.used_at), us(session.ends_at)],
    )?;
    Ok(Ok(()))
}

pub(super) fn session(db: &Connection, sha256: &str) -> Result<Option<(Session, Account)>> {
    let sql = format!(
        "select {COLUMNS}, s.made_us, s.used_us, s.ends_us from account_session s join account a on a.name = s.account
            where s.sha256 = ?1"
    );
    let read = |row: &Row<'_>| {
        let account = read(row)?;
        let session = Session {
            sha256: sha256.to_owned(),
            account: account.name.clone(),
            made_at: rows::time(row, 5)?,
            used_at: rows::time(row, 6)?,
            ends_at: rows::time(row, 7)?,
        };
        Ok((session, account))
    };
    db.prepare_cached(&sql)?.query_row(params![sha256], read).optional()
}

pub(super) fn renew(db: &Connection, sha256: &str, used_at: Timestamp, ends_at: Timestamp) -> Result<Said<bool>> {
    let sql = "update account_session set used_us = max(used_us, ?2), ends_us = max(ends_us, ?3) where sha256 = ?1";
    Ok(Ok(db.execute(sql, params![sha256, used_at.as_microsecond(), ends_at.as_microsecond()])? > 0))
}

pub(super) fn end(db: &Connection, sha256: &str) -> Result<Said<bool>> {
    Ok(Ok(db.execute("delete from account_session where sha256 = ?1", params![sha256])? > 0))
}
