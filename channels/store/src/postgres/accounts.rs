//! Accounts and their sessions in PostgreSQL.

use jiff::Timestamp;
use tokio_postgres::Row;

use super::fail::Fault;
use super::lane::Said;
use super::link::{Link, Result};
use super::rows;
use crate::account::{self, Account, AccountChange, Credentials, NewAccount, PasswordHash, Session};
use crate::limits::{ACCOUNTS_MAX, SESSIONS_PER_ACCOUNT_MAX};

const COLUMNS: &str = "a.name, a.profile, a.disabled, a.made_us, a.signed_in_us";

/// Within a transaction: gateways that change accounts at once wait for each other.
async fn lock(link: &Link) -> Result<()> {
    link.batch("lock table account in share row exclusive mode").await
}

pub(super) async fn put(link: &Link, new: &NewAccount) -> Result<Said<()>> {
    let NewAccount { account, credentials, first } = new;
    lock(link).await?;
    let sql = "select count(*), coalesce(bool_or(name = $1), false) from account";
    let row = link.one(sql, &[&account.name]).await?.ok_or_else(|| Fault::unreadable("no count of accounts"))?;
    let (all, named): (u64, bool) = (rows::number(&row, 0)?, row.try_get(1)?);
    if *first && all > 0 {
        return Ok(Err(account::not_first()));
    }
    if named {
        return Ok(Err(account::taken(&account.name)));
    }
    if all >= ACCOUNTS_MAX as u64 {
        return Ok(Err(account::too_many(ACCOUNTS_MAX)));
    }
    if bound_elsewhere(link, &account.name, credentials).await? {
        return Ok(Err(account::subject_taken()));
    }
    let sql = "insert into account (name, profile, password, subject, disabled, made_us, signed_in_us)
        values ($1, $2, $3, $4, $5, $6, $7)";
    let password = credentials.password.as_ref().map(PasswordHash::as_str);
    let (made, signed_in) = (account.made_at.as_microsecond(), account.signed_in_at.map(Timestamp::as_microsecond));
    let profile = account::profile(account);
    link.execute(
        sql,
        &[&account.name, &profile, &password, &credentials.subject, &account.disabled, &made, &signed_in],
    )
    .await?;
    Ok(Ok(()))
}

async fn bound_elsewhere(link: &Link, name: &str, credentials: &Credentials) -> Result<bool> {
    let Some(subject) = &credentials.subject else { return Ok(false) };
    let row = link.one("select 1 from account where subject = $1 and name <> $2", &[subject, &name]).await?;
    Ok(row.is_some())
}

pub(super) async fn all(link: &Link) -> Result<Vec<Account>> {
    let sql = format!("select {COLUMNS} from account a order by a.name collate \"C\"");
    link.query(&sql, &[]).await?.iter().map(read).collect()
}

pub(super) async fn one(link: &Link, name: &str) -> Result<Option<(Account, Credentials)>> {
    let sql = format!("select {COLUMNS}, a.password, a.subject from account a where a.name = $1");
    let Some(row) = link.one(&sql, &[&name]).await? else { return Ok(None) };
    let password = row.try_get::<_, Option<String>>(5)?.map(PasswordHash::new);
    Ok(Some((read(&row)?, Credentials { password, subject: row.try_get(6)? })))
}

pub(super) async fn of_subject(link: &Link, subject: &str) -> Result<Option<Account>> {
    let sql = format!("select {COLUMNS} from account a where a.subject = $1");
    link.one(&sql, &[&subject]).await?.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<Account> {
    let signed_in: Option<i64> = row.try_get(4)?;
    let signed_in = signed_in.map(|us| Timestamp::from_microsecond(us).map_err(Fault::unreadable)).transpose()?;
    account::of_row(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, rows::time(row, 3)?, signed_in)
        .map_err(Fault::unreadable)
}

pub(super) async fn change(link: &Link, name: &str, change: &AccountChange) -> Result<Said<Option<Account>>> {
    lock(link).await?;
    let Some((mut changed, mut credentials)) = one(link, name).await? else { return Ok(Ok(None)) };
    change.apply(&mut changed, &mut credentials);
    if let Err(refused) = account::checked(&changed, &credentials) {
        return Ok(Err(refused));
    }
    if bound_elsewhere(link, name, &credentials).await? {
        return Ok(Err(account::subject_taken()));
    }
    let sql = "update account set profile = $2, password = $3, subject = $4, disabled = $5, signed_in_us = $6
        where name = $1";
    let password = credentials.password.as_ref().map(PasswordHash::as_str);
    let (profile, signed_in) = (account::profile(&changed), changed.signed_in_at.map(Timestamp::as_microsecond));
    link.execute(sql, &[&name, &profile, &password, &credentials.subject, &changed.disabled, &signed_in]).await?;
    if let Some(except) = change.ends_sessions() {
        let sql = "delete from account_session where account = $1 and sha256 is distinct from $2";
        link.execute(sql, &[&name, &except]).await?;
    }
    Ok(Ok(Some(changed)))
}

pub(super) async fn remove(link: &Link, name: &str) -> Result<Said<bool>> {
    lock(link).await?;
    Ok(Ok(link.execute("delete from account where name = $1", &[&name]).await? > 0))
}

pub(super) async fn put_session(link: &Link, session: &Session) -> Result<Said<()>> {
    let row = link.one("select disabled from account where name = $1 for share", &[&session.account]).await?;
    if row.map(|row| row.try_get::<_, bool>(0)).transpose()?.is_none_or(|disabled| disabled) {
        return Ok(Err(account::nobody()));
    }
    let us = Timestamp::as_microsecond;
    let (made, used, ends) = (us(session.made_at), us(session.used_at), us(session.ends_at));
    link.execute("delete from account_session where ends_us <= $1", &[&made]).await?;
    let sql = "delete from account_session where account = $1 and sha256 not in
        (select sha256 from account_session where account = $1 order by used_us desc, sha256 limit $2)";
    let kept = SESSIONS_PER_ACCOUNT_MAX as i64 - 1;
    link.execute(sql, &[&session.account, &kept]).await?;
    let sql = "insert into account_session (sha256, account, made_us, used_us, ends_us) values ($1, $2, $3, $4, $5)";
    link.execute(sql, &[&session.sha256, &session.account, &made, &used, &ends]).await?;
    Ok(Ok(()))
}

pub(super) async fn session(link: &Link, sha256: &str) -> Result<Option<(Session, Account)>> {
    let sql = format!(
        "select {COLUMNS}, s.made_us, s.used_us, s.ends_us from account_session s join account a on a.name = s.account
            where s.sha256 = $1"
    );
    let Some(row) = link.one(&sql, &[&sha256]).await? else { return Ok(None) };
    let account = read(&row)?;
    let session = Session {
        sha256: sha256.to_owned(),
        account: account.name.clone(),
        made_at: rows::time(&row, 5)?,
        used_at: rows::time(&row, 6)?,
        ends_at: rows::time(&row, 7)?,
    };
    Ok(Some((session, account)))
}

pub(super) async fn renew(link: &Link, sha256: &str, used_at: Timestamp, ends_at: Timestamp) -> Result<Said<bool>> {
    let sql =
        "update account_session set used_us = greatest(used_us, $2), ends_us = greatest(ends_us, $3) where sha256 = $1";
    let (used, ends) = (used_at.as_microsecond(), ends_at.as_microsecond());
    Ok(Ok(link.execute(sql, &[&sha256, &used, &ends]).await? > 0))
}

pub(super) async fn end(link: &Link, sha256: &str) -> Result<Said<bool>> {
    Ok(Ok(link.execute("delete from account_session where sha256 = $1", &[&sha256]).await? > 0))
}
