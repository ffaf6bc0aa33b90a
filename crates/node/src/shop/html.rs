//! The page of one node, for a browser without scripts. The demonstration has a richer one.

use std::fmt::Write as _;

use axum::http::{HeaderName, header};
use axum::response::Html;

use super::Shop;

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

const STYLE: &str = "\
    body{font:17px/1.5 system-ui,sans-serif;max-width:34rem;margin:2rem auto;padding:0 1rem;\
    background:#f4f2ec;color:#23252f}\
    form{display:inline-block;margin:.2rem .4rem .2rem 0}\
    input,button{font:inherit;padding:.3rem .7rem;border-radius:.4rem;border:1px solid #b9b4a6}\
    button{background:#4557a6;color:#fff;border-color:#4557a6}\
    .night{background:#14161f;color:#e9eaf0}.sea{background:#082126;color:#e2f3f1}\
    .ember{background:#fbeee6;color:#3a2018}";

const THEMES: [&str; 4] = ["day", "night", "sea", "ember"];

/// The page, and headers that keep others from framing or extending it.
pub(super) fn page(shop: &Shop) -> ([(HeaderName, &'static str); 3], Html<String>) {
    let theme = shop.theme.as_deref().and_then(|theme| THEMES.into_iter().find(|t| *t == theme));
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Shop</title><style>{STYLE}</style><body class=\"{}\">\
         <h1>Shop</h1><p>Served by node <b>{}</b>.</p>",
        theme.unwrap_or("day"),
        escaped(&shop.node)
    );
    match &shop.user {
        None => form(&mut page, shop, "login", "Log in", &text_field("user", "your name")),
        Some(user) => {
            let _ = write!(page, "<p>Signed in as <b>{}</b>.</p>", escaped(user));
            form(&mut page, shop, "logout", "Log out", "");
        }
    }
    let _ = write!(page, "<h2>Visits: {}</h2>", shop.visits);
    form(&mut page, shop, "visit", "Visit", "");
    page.push_str("<h2>Cart</h2>");
    for item in &shop.cart {
        let label = format!("Remove {item}");
        form(&mut page, shop, "remove", &label, &hidden_field("item", item));
    }
    form(&mut page, shop, "add", "Add", &text_field("item", "an item"));
    page.push_str("<h2>Theme</h2>");
    for theme in THEMES {
        form(&mut page, shop, "theme", theme, &hidden_field("theme", theme));
    }
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Html(page))
}

fn form(page: &mut String, shop: &Shop, action: &str, button: &str, fields: &str) {
    let csrf = hidden_field("csrf", &shop.csrf);
    let _ = write!(
        page,
        "<form method=\"post\" action=\"/shop/{action}\">{csrf}{fields}<button>{}</button></form>",
        escaped(button)
    );
}

fn hidden_field(name: &str, value: &str) -> String {
    format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escaped(value))
}

fn text_field(name: &str, hint: &str) -> String {
    format!(
        "<input name=\"{name}\" aria-label=\"{hint}\" placeholder=\"{hint}\" maxlength=\"64\" required> "
    )
}

/// A text that is neither an element nor the end of an attribute.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_stays_text() {
        let shop = Shop {
            node: "n1".to_owned(),
            user: Some("<script>alert(1)</script>".to_owned()),
            visits: 1,
            theme: Some("\" onload=\"".to_owned()),
            cart: vec!["\"><b>".to_owned()],
            csrf: "token".to_owned(),
        };
        let (_, Html(page)) = page(&shop);
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"));
        assert!(page.contains("value=\"&quot;&gt;&lt;b&gt;\""));
        assert!(!page.contains("onload"));
    }
}
