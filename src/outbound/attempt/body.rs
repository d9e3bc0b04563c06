//! The message on its way out: with a final dot behind DATA, or as it is behind BDAT.

use super::connection::{FinalDot, Mail, Stop};
use super::link::Link;
use crate::smtp::client::{Event, Phase};
use crate::smtp::stuffing::Stuffer;

/// Writes the message to its final dot, or until the peer has answered before that: then the message is not sent whole,
/// and the machine no longer in [`Phase::Body`].
pub(super) async fn write_body<M: Mail>(
    link: &mut Link,
    mail: &mut M,
    dot: &FinalDot,
    take: &mut impl FnMut(Event, &Link),
) -> Result<(), Stop> {
    let mut stuffer = Stuffer::new();
    loop {
        let chunk = mail.next_chunk().await;
        let chunk = chunk.map_err(|problem| Stop::Source(problem.to_string()))?;
        let Some(chunk) = chunk else { break };
        for piece in stuffer.stuff(chunk) {
            put(link, piece, take).await?;
        }
        if link.client().phase() != Phase::Body {
            return Ok(());
        }
    }
    // From here on the dot may be on its way, whatever is heard of it.
    dot.set(true);
    put(link, stuffer.finish(), take).await?;
    write_out(link, take).await
}

/// The same without a dot: so many octets, and no more.
pub(super) async fn write_chunk<M: Mail>(
    link: &mut Link,
    mail: &mut M,
    octets: u64,
    dot: &FinalDot,
    take: &mut impl FnMut(Event, &Link),
) -> Result<(), Stop> {
    let mut left = octets;
    loop {
        let chunk = mail.next_chunk().await;
        let chunk = chunk.map_err(|problem| Stop::Source(problem.to_string()))?;
        let Some(chunk) = chunk else { break };
        let wrong = || Stop::Source(format!("it goes on behind its {octets} octets"));
        left = left.checked_sub(chunk.len() as u64).ok_or_else(wrong)?;
        if left == 0 {
            // From here on its last octet may be on its way.
            dot.set(true);
        }
        put(link, chunk, take).await?;
        if link.client().phase() != Phase::Body {
            return Ok(());
        }
    }
    if left > 0 {
        let short = format!("it ends {left} of its {octets} octets early");
        return Err(Stop::Source(short));
    }
    write_out(link, take).await
}

async fn put(
    link: &mut Link,
    mut piece: &[u8],
    take: &mut impl FnMut(Event, &Link),
) -> Result<(), Stop> {
    while !piece.is_empty() && link.client().phase() == Phase::Body {
        if let Some(event) = link.put(&mut piece).await? {
            take(event, link);
        }
    }
    Ok(())
}

async fn write_out(link: &mut Link, take: &mut impl FnMut(Event, &Link)) -> Result<(), Stop> {
    while link.client().phase() == Phase::Body
        && let Some(event) = link.write_out().await?
    {
        take(event, link);
    }
    Ok(())
}
