//! What cannot work is told by name.

use std::os::unix::fs::PermissionsExt;

use nix::unistd::Uid;

use super::{config, room};
use crate::postgres::{Error, PostgresServer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_work_is_refused_by_name() {
    let dir = room();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("letter.txt"), "dear").unwrap();
    let error = PostgresServer::prepare(config(dir.path()))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoDataDirectory(_)), "{error}");
    assert!(data.join("letter.txt").exists());

    std::fs::remove_file(data.join("letter.txt")).unwrap();
    std::fs::write(data.join("PG_VERSION"), "14\n").unwrap();
    let error = PostgresServer::prepare(config(dir.path()))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::OtherMajor { made: 14, .. }),
        "{error}"
    );
    std::fs::remove_file(data.join("PG_VERSION")).unwrap();

    let mut wrong = config(dir.path());
    wrong.settings = vec![("work_mem".into(), "much".into())];
    let mut server = PostgresServer::prepare(wrong).await.unwrap();
    let error = server.start().await.unwrap_err();
    assert!(
        matches!(&error, Error::Ended { tail, .. } if tail.contains("work_mem")),
        "{error}"
    );
    let error = PostgresServer::prepare(config(dir.path()))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::InUse(_)), "{error}");
    drop(server);

    if Uid::effective().is_root() {
        let closed = dir.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
        let error = PostgresServer::prepare(config(&closed))
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&format!("chmod o+x {}", closed.display())),
            "{error}"
        );
    }
}
